"""Runs in a frozen program before its main module: a decoder process is this program, started at this entry alone."""

import sys

ENTRY = "--cxr-edge-decoder"

sys.cxr_edge_decoder = ENTRY  # tells cxr_edge.images.dicom.decoders.launch that there is this entry
if sys.argv[1:] == [ENTRY]:
    from cxr_edge.images.dicom.decoders.decoder_process import serve

    serve()
    sys.exit()
