"""Record the golden probabilities from Keras: ``python tests/record_golden.py``.

Nothing of the SDK is used: OpenCV decodes and resizes, NumPy makes the TTA variants and calibrates,
Keras predicts. Run it when the shipped model changes, and commit the result together with the bundle.
"""

import json
from pathlib import Path

import cv2
import keras
import numpy as np

ROOT = Path(__file__).parent.parent
GOLDEN = Path(__file__).parent / "golden.json"
MODEL = ROOT / "training" / "models" / "nih14-efficientnetb0"


def main() -> None:
    """Write the calibrated probabilities of every sample, from one TTA variant and from six."""
    network = keras.models.load_model(MODEL / "model.keras", compile=False)
    calibration = json.loads((MODEL / "decisions.json").read_text())["calibration"]
    golden = {}
    for path in sorted((ROOT / "samples").glob("*.png")):
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        image = cv2.resize(image, (224, 224), interpolation=cv2.INTER_AREA).astype(np.float64)
        variants = [np.clip(np.rint(f * b), 0, 255) for f in (image, image[:, ::-1]) for b in (1.0, 0.9, 1.1)]
        predicted = np.asarray(network(np.float32(variants)[..., np.newaxis], training=False), np.float64)
        golden[path.name] = {
            "single": calibrated(predicted[0], calibration["single"]),
            "tta": calibrated(predicted.mean(axis=0), calibration["tta"]),
        }
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")


def calibrated(probabilities: np.ndarray, curves: dict[str, dict[str, float]]) -> list[float]:
    """Apply Platt's sigmoids, which stand in the order of the network's outputs."""
    slopes, intercepts = (np.array([curve[key] for curve in curves.values()]) for key in ("slope", "intercept"))
    odds = (probabilities / (1 - probabilities)) ** slopes * np.exp(intercepts)
    return (odds / (1 + odds)).tolist()


if __name__ == "__main__":
    main()
