"""Decoder processes: started, limited, asked and ended."""
