"""The same task as in torchxrayvision's own script, on PyTorch; random weights, which take the same time."""

import numpy as np
import numpy.typing as npt
import skimage.io
import torch
import torchxrayvision as xrv

from benchmarks.baselines import SIDE


class Directory:
    """Files → probabilities: scikit-image, centre crop, resizing, DenseNet-121, one image after the other."""

    def __init__(self, images: list[str]) -> None:
        self._images = images
        self._crop = xrv.datasets.XRayCenterCrop()
        self._resize = xrv.datasets.XRayResizer(SIDE, engine="cv2")  # which it recommends for speed
        self._network = xrv.models.DenseNet(weights=None).eval()
        self.work = len(images)
        self.settings = {
            "call": "skimage.io.imread, XRayCenterCrop, XRayResizer(engine=cv2), model(x) in inference_mode, serial",
            "network": "torchxrayvision.models.DenseNet (DenseNet-121), random weights",
            "threads": torch.get_num_threads(),
        }

    def run(self) -> npt.NDArray[np.float32]:
        """Read and infer."""
        with torch.inference_mode():
            return np.stack([self._network(self._read(image))[0].numpy() for image in self._images])

    def _read(self, path: str) -> torch.Tensor:
        image = xrv.datasets.normalize(skimage.io.imread(path), 255)
        if image.ndim == 3:
            image = image[..., 0]
        return torch.from_numpy(self._resize(self._crop(image[np.newaxis]))).float()[np.newaxis]
