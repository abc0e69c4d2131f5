"""Half precision, where the device has instructions for it."""

import torch


def half_precision() -> torch.autocast:
    """A context of bfloat16 for networks, where the default device has instructions for it."""
    device = torch.get_default_device().type
    return torch.autocast(
        device, torch.bfloat16, enabled=device != "cpu" or torch.cpu._is_avx512_bf16_supported()
    )
