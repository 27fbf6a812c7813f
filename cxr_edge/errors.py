"""Every exception the SDK raises, each with a stable code.

::

    CxrEdgeError
    ├── InputError                  this one input cannot be used; the rest of a run goes on
    │   ├── NotFound                not_found
    │   ├── NotAFile                not_a_file
    │   ├── PermissionDenied        permission_denied
    │   ├── Unreadable              unreadable
    │   ├── NonUtf8Name             non_utf8_name
    │   ├── EmptyFile               empty_file
    │   ├── NotAnImage              not_an_image
    │   ├── UnsupportedFormat       unsupported_format
    │   ├── Truncated               truncated
    │   ├── TooLarge                too_large
    │   ├── TooSmall                too_small
    │   ├── Blank                   blank
    │   ├── InvalidHeader           invalid_header
    │   ├── UnsupportedObject       unsupported_object
    │   ├── ForProcessing           for_processing
    │   ├── MultiFrame              multi_frame
    │   ├── Colour                  colour
    │   ├── NoPixels                no_pixels
    │   ├── HeaderMismatch          header_mismatch
    │   ├── DecoderFailed           decoder_failed
    │   ├── DecoderUnavailable      decoder_unavailable
    │   ├── NotAChestImage          not_a_chest_image
    │   ├── LateralView             lateral_view
    │   ├── FrontalView             frontal_view
    │   ├── AgeOutsideTraining      age_outside_training
    │   ├── WrongOrientation        wrong_orientation
    │   ├── NotDicom                not_dicom
    │   ├── MissingPackage          missing_package
    │   └── InvalidArray            invalid_array
    ├── BundleError                 the model bundle cannot be used
    │   ├── BundleNotFound          bundle_not_found
    │   ├── BundleInvalid           bundle_invalid
    │   ├── BundleVersion           bundle_version
    │   ├── BundleDamaged           bundle_damaged
    │   └── BundleTensors           bundle_tensors
    ├── DeviceError                 the device cannot run the graphs
    │   ├── DeviceUnavailable       device_unavailable
    │   ├── DeviceFailed            device_failed
    │   └── ForkedModel             forked_model
    ├── EngineError                 a TensorRT engine cannot be built or stored
    │   ├── ModelRefused            model_refused
    │   ├── EngineBuildFailed       engine_build_failed
    │   └── CacheUnusable           cache_unusable
    ├── UnknownOperatingPoint       unknown_operating_point
    ├── UnknownPrecision            unknown_precision
    ├── HeatmapNotComputed          heatmap_not_computed
    ├── HeatmapUnavailable          heatmap_unavailable
    ├── NodeError                   the store-and-forward node cannot run
    │   ├── NodeConfig              node_config
    │   └── NodeBusy                node_busy
    ├── DemoUnavailable             demo_unavailable
    └── OutputError                 the results directory cannot be used
        ├── OutputMismatch          output_mismatch
        ├── OutputBusy              output_busy
        └── OutputUnwritable        output_unwritable

A message states what was expected, what came, and what to do.
"""

import errno
from pathlib import Path
from typing import ClassVar, Final

from cxr_edge._version import __version__


def how_to_get(extra: str) -> str:
    """Return how to install an extra, in a clone and from a wheel: no package index has cxr-edge."""
    wheel = f"cxr_edge-{__version__}-py3-none-any.whl"
    return f"install the extra {extra}: pip install '.[{extra}]' in a clone, or '{wheel}[{extra}]'"


class CxrEdgeError(Exception):
    """Base of every exception that the SDK raises.

    Attributes
    ----------
    code : str
        Stable identifier for programs; the message is for people.
    """

    code: ClassVar[str] = "error"


class InputError(CxrEdgeError):
    """One input cannot be used; other inputs are unharmed.

    Parameters
    ----------
    message : str
    content : str
        What the input plainly is instead of an image, such as ``ZIP archive`` or the class of a DICOM object; empty
        where it is an image, or may be one.
    """

    code = "input_error"

    def __init__(self, message: str = "", content: str = "") -> None:
        super().__init__(message)
        self.content = content


class NotFound(InputError):
    """Nothing exists at the path."""

    code = "not_found"


class NotAFile(InputError):
    """The path is a device, a pipe or a socket."""

    code = "not_a_file"


class PermissionDenied(InputError):
    """The operating system refuses to open the file."""

    code = "permission_denied"


class Unreadable(InputError):
    """The operating system fails while reading the file."""

    code = "unreadable"


class NonUtf8Name(InputError):
    """The file name is not valid UTF-8, so a report could not name it."""

    code = "non_utf8_name"


class EmptyFile(InputError):
    """The file has zero bytes."""

    code = "empty_file"


class NotAnImage(InputError):
    """The content is not in a known image format."""

    code = "not_an_image"


class UnsupportedFormat(InputError):
    """The content is an image, but in a format or coding that is not supported."""

    code = "unsupported_format"


class Truncated(InputError):
    """The image data ends early or is damaged."""

    code = "truncated"


class TooLarge(InputError):
    """The file, a side or the number of pixels exceeds the bounds."""

    code = "too_large"


class TooSmall(InputError):
    """A side is too short for a chest radiograph."""

    code = "too_small"


class Blank(InputError):
    """All pixels have practically the same value."""

    code = "blank"


class InvalidArray(InputError):
    """The array's shape, dtype or range of values is not that of an image."""

    code = "invalid_array"


class InvalidHeader(InputError):
    """A DICOM header is damaged, lacks an attribute, or an attribute breaks its rule."""

    code = "invalid_header"


class UnsupportedObject(InputError):
    """The object is not of a kind that holds a radiograph: another DICOM object, or a result of cxr-edge."""

    code = "unsupported_object"


class ForProcessing(InputError):
    """The DICOM image holds raw detector values, which are not for presentation."""

    code = "for_processing"


class MultiFrame(InputError):
    """The DICOM object holds several frames."""

    code = "multi_frame"


class Colour(InputError):
    """The DICOM image is in colour; a radiograph is not."""

    code = "colour"


class NoPixels(InputError):
    """The DICOM object holds no pixels."""

    code = "no_pixels"


class HeaderMismatch(InputError):
    """The pixels differ in size, depth, sign or number from what the DICOM header states."""

    code = "header_mismatch"


class DecoderFailed(InputError):
    """The process that decodes compressed pixels crashed, or exceeded its limit of time or memory."""

    code = "decoder_failed"


class DecoderUnavailable(InputError):
    """The process that decodes compressed pixels cannot be started here; the image itself was not tried."""

    code = "decoder_unavailable"


class NotAChestImage(InputError):
    """The DICOM header names a body part other than the chest, or a modality other than radiography."""

    code = "not_a_chest_image"


class LateralView(InputError):
    """The DICOM header describes the image as lateral or oblique."""

    code = "lateral_view"


class FrontalView(InputError):
    """The DICOM header describes the image as frontal, and the model is one of lateral images."""

    code = "frontal_view"


class AgeOutsideTraining(InputError):
    """By the DICOM header the patient is younger or older than those the model was trained on."""

    code = "age_outside_training"


class WrongOrientation(InputError):
    """The DICOM header describes the image as mirrored, upside down or turned."""

    code = "wrong_orientation"


class NotDicom(InputError):
    """DICOM results were asked for, and the image is not a DICOM file."""

    code = "not_dicom"


class MissingPackage(InputError):
    """Reading this kind of input needs packages that are not installed."""

    code = "missing_package"

    @classmethod
    def for_dicom(cls, package: str) -> "MissingPackage":
        """Return the error that names the package, and the extra that installs it."""
        return cls(f"this is DICOM, and the package {package} is not installed; {how_to_get('dicom')}")


class BundleError(CxrEdgeError):
    """The model bundle cannot be used."""

    code = "bundle_error"


class BundleNotFound(BundleError):
    """The directory or its manifest does not exist."""

    code = "bundle_not_found"


class BundleInvalid(BundleError):
    """The manifest lacks a key, or a value breaks its rule."""

    code = "bundle_invalid"


class BundleVersion(BundleError):
    """The manifest has another major format version than this software reads."""

    code = "bundle_version"


class BundleDamaged(BundleError):
    """A file of the bundle is missing or its hash differs."""

    code = "bundle_damaged"


class BundleTensors(BundleError):
    """A graph lacks a tensor that the manifest names, or its shape differs."""

    code = "bundle_tensors"


class DeviceError(CxrEdgeError):
    """The device cannot run the graphs."""

    code = "device_error"


class DeviceUnavailable(DeviceError):
    """The device that was asked for is not available here."""

    code = "device_unavailable"


class DeviceFailed(DeviceError):
    """The device failed while it computed: out of memory, lost, or reset."""

    code = "device_failed"


class ForkedModel(DeviceError):
    """The model was loaded before a fork, on a device that a fork cannot use."""

    code = "forked_model"


class EngineError(CxrEdgeError):
    """A TensorRT engine cannot be built or stored."""

    code = "engine_error"


class ModelRefused(EngineError):
    """NVIDIA's parser does not accept the whole graph."""

    code = "model_refused"


class EngineBuildFailed(EngineError):
    """TensorRT could not build an engine, or it could not be written."""

    code = "engine_build_failed"


class CacheUnusable(EngineError):
    """The folder of engines cannot be used, or others could write into it."""

    code = "cache_unusable"


class UnknownOperatingPoint(CxrEdgeError):
    """The bundle has no operating point of that name."""

    code = "unknown_operating_point"


class UnknownPrecision(CxrEdgeError):
    """The bundle has no variant of that precision, or the device cannot compute in it."""

    code = "unknown_precision"


class HeatmapNotComputed(CxrEdgeError):
    """The result was computed without heat maps."""

    code = "heatmap_not_computed"


class HeatmapUnavailable(CxrEdgeError):
    """The bundle has no heat maps."""

    code = "heatmap_unavailable"


class NodeError(CxrEdgeError):
    """The store-and-forward node cannot run."""

    code = "node_error"


class NodeConfig(NodeError):
    """The node's configuration cannot be read, or a value breaks its rule."""

    code = "node_config"


class NodeBusy(NodeError):
    """Another node uses the same data folder, or the port is in use."""

    code = "node_busy"


class DemoUnavailable(CxrEdgeError):
    """The demo's package is not installed, or the demo cannot listen at its address."""

    code = "demo_unavailable"


class OutputError(CxrEdgeError):
    """The results directory cannot be used."""

    code = "output_error"


class OutputMismatch(OutputError):
    """The directory holds the results of a run with another identity."""

    code = "output_mismatch"


class OutputBusy(OutputError):
    """Another process is writing to the directory."""

    code = "output_busy"


_REMEDIES: Final = {
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "let this user read and write there"),
    **dict.fromkeys((errno.EEXIST, errno.EISDIR, errno.ENOTDIR), "move what is in its place"),
    **dict.fromkeys((errno.EFBIG, errno.ENOSPC), "make room"),
}


class OutputUnwritable(OutputError):
    """The directory or a file in it cannot be written."""

    code = "output_unwritable"

    @classmethod
    def at(cls, path: str | Path, error: OSError, option: str = "") -> "OutputUnwritable":
        """Return the error that states what cannot be used, why, and what to do, such as to change an option."""
        other = f", or choose another {option}" if option else ""
        todo = _REMEDIES.get(error.errno or 0, "correct that")
        return cls(f"{path} cannot be used ({error.strerror}); {todo} and run again{other}")
