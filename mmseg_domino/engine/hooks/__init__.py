from .seed_iteration import SeedIterationHook

__all__ = ["SeedIterationHook"]
