"""Imports every module of the installed packages and every name of their ``__all__``."""

import importlib
import pkgutil

names = 0
for package in ("leptonic", "leptonic_server", "leptonic_client", "leptonic_simulations"):
    root = importlib.import_module(package)
    for found in [package, *(module.name for module in pkgutil.walk_packages(root.__path__, f"{package}."))]:
        module = importlib.import_module(found)
        for name in getattr(module, "__all__", ()):
            getattr(module, name)
            names += 1
print(f"imported {names} names")
