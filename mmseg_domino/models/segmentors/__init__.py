from .domino_encoder_decoder import DominoCascadeEncoderDecoder, DominoEncoderDecoder

__all__ = ["DominoCascadeEncoderDecoder", "DominoEncoderDecoder"]
