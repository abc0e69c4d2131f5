"""Networks: definitions only. Building one touches no disk and no network."""
