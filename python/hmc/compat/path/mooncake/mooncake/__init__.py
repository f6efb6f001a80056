"""Mooncake's transfer engine, by HMC (see hmc.compat.mooncake)."""
