"""Half precision, where the device is fast at it."""

import torch


def half_precision() -> torch.autocast:
    """bfloat16 on the default device, where it has instructions for it."""
    device = torch.get_default_device().type
    return torch.autocast(
        device, torch.bfloat16, enabled=device != "cpu" or torch.cpu._is_avx512_bf16_supported()
    )
