"""What PyInstaller does not see by itself: the shipped bundle, and modules that are imported by name."""

from PyInstaller.utils.hooks import can_import_module, collect_data_files, collect_submodules

#: Imported by name, or by compiled code. Those that are not installed are left out.
BY_NAME = ("onnxruntime", "openvino", "pydicom", "imagecodecs")

#: Beginnings of the modules of imagecodecs that decode DICOM's transfer syntaxes; it has some fifty others.
CODECS = ("_shared", "_imcd", "_jpeg2k", "_jpeg8", "_jpegls", "_jpegsof3", "_ljpeg", "imagecodecs")

datas = collect_data_files("cxr_edge")
installed = [name for name in BY_NAME if can_import_module(name)]
hiddenimports = [*installed, "cxr_edge.images.dicom.read", "cxr_edge.images.dicom.decoders.decoder_process"]
if "imagecodecs" in installed:
    hiddenimports += [name for name in collect_submodules("imagecodecs") if name.rpartition(".")[2].startswith(CODECS)]
