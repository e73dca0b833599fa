from .domain import EncodeDomain, LoadDomainEmbedding

__all__ = ["EncodeDomain", "LoadDomainEmbedding"]
