from .transforms import EncodeDomain, LoadDomainEmbedding

__all__ = ["EncodeDomain", "LoadDomainEmbedding"]
