"""The recipe of a fit: one typed file with everything that is chosen."""

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from training.errors import RecipeError
from training.labels import DEFAULT as DEFAULT_LABELS

RECIPES = Path(__file__).parent / "recipes"
DEFAULT = RECIPES / "best.toml"
#: What `ablate` fits.
EXPERIMENTS = Path(__file__).parent / "experiments"

#: Backbones of `Network`: their ONNX graphs are held against Keras in tests.
Backbone: TypeAlias = Literal[
    "EfficientNetB0", "EfficientNetV2B0", "EfficientNetB3", "DenseNet121", "ResNet50", "MobileNetV3Large"
]

Share = Annotated[float, Meta(ge=0, lt=1)]
AtLeastZero = Annotated[float, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]


class Split(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How images are divided; no patient is ever in two parts.

    Attributes
    ----------
    scheme : str
        ``official``: NIH's published test list. ``random-80-20``: a fifth of all patients is the
        test part, as in the reference design. ``file``: see `file`.
    validation : float
        Share of the patients outside the test part that are held out at random.
    validation_collections : tuple of str
        Instead: hold out these whole collections, so that validation measures the network
        on images gathered elsewhere. Images of their patients in other collections are left out.
    seed : int
        Of the random choices of validation and test.
    train_images : int
        Fit on at most so many images: all of those of the first patients in an order that `train_seed` draws, so
        that a smaller part lies within a larger one. 0: all. Validation and test stay as they are.
    train_seed : int
    file : str
        For ``file``: a CSV with the columns image and split (train, validation or test). Images it
        does not name are left out.
    """

    scheme: Literal["official", "random-80-20", "file"] = "official"
    validation: float = 0.15
    validation_collections: tuple[str, ...] = ()
    seed: int = 0
    train_images: Annotated[int, Meta(ge=0)] = 0
    train_seed: Annotated[int, Meta(ge=0)] = 0
    file: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.validation < 1:
            raise ValueError(f"expected validation between 0 and 1, got {self.validation}")
        if (self.scheme == "file") != bool(self.file):
            raise ValueError("expected `file` with the scheme 'file', and only there")

    def describe(self) -> str:
        """Describe how validation was held out and what the test part is."""
        if self.scheme == "file":
            return f"the user's own file {Path(self.file).name}"
        test = "official test list" if self.scheme == "official" else "20% of the patients at random as test"
        if self.validation_collections:
            return f"{test}; validation: all patients of collection {', '.join(self.validation_collections)}"
        return f"{test}; validation: {self.validation:.0%} of the other patients at random"


class Network(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is fitted; see `training.network.architecture.build_network`.

    Attributes
    ----------
    backbone : str
        Of ``keras.applications``.
    head : tuple of int
        Widths of the dense layers between the pooled features and the logits.
    dropout : tuple of float
        Behind each of them.
    """

    backbone: Backbone = "EfficientNetB0"
    head: tuple[Count, ...] = (512, 256)
    dropout: tuple[Share, ...] = (0.3, 0.2)

    def __post_init__(self) -> None:
        if len(self.dropout) != len(self.head):
            raise ValueError(f"expected a dropout for each of the {len(self.head)} layers of head, got {self.dropout}")


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One pass of the learning-rate schedule at one size.

    Attributes
    ----------
    size : int
        Side of the input in pixels, a multiple of 32; the network is convolutional, so its weights
        serve any.
    epochs : int
        At most; see `Stopping`.
    learning_rate : float
        Peak.
    """

    size: Annotated[int, Meta(ge=32, le=4096, multiple_of=32)]
    epochs: Count
    learning_rate: Positive


class Sampling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which images an epoch shows.

    Attributes
    ----------
    min_per_class : int
        Images of a label rarer than this are shown again, until the label reaches it: drawn anew
        each epoch, and spread over it. 0: every image once. The design takes 2,000 on all of NIH.
    small_share : float
        Most of an epoch that images stored smaller than the stage's size may be; drawn anew each
        epoch. 1: all of them. Enlarged images lack detail, and a network that sees mostly them
        does not learn to use it.
    """

    min_per_class: Annotated[int, Meta(ge=0)] = 0
    small_share: Annotated[float, Meta(ge=0, le=1)] = 1.0


class Loss(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is minimised; see `training.fitting.losses`.

    Attributes
    ----------
    name : str
    alpha, gamma : float
        Of ``focal`` (Lin et al. 2017).
    gamma_positive, gamma_negative, margin : float
        Of ``asymmetric`` (Ridnik et al. 2021).
    label_smoothing : float
        Targets become 0 + s/2 and 1 - s/2.
    class_weights : bool
        Weigh each label's terms by the inverse of its frequency, with a mean weight of 1.
    collection_prior : float
        Add to the loss how frequent each label is in each collection, so that the network gains
        nothing by distinguishing collections; as if so many images of the overall frequencies were
        added to each. 0: off.
    """

    name: Literal["cross_entropy", "focal", "asymmetric"] = "cross_entropy"
    alpha: Share = 0.25
    gamma: AtLeastZero = 2.0
    gamma_positive: AtLeastZero = 0.0
    gamma_negative: AtLeastZero = 2.0
    margin: Share = 0.05
    label_smoothing: Share = 0.0
    class_weights: bool = False
    collection_prior: AtLeastZero = 0.0


class Augmentation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How images are varied; a strength is the largest change, drawn uniformly in both directions.

    Attributes
    ----------
    flip : float
        Probability of mirroring left and right.
    rotation : float
        Degrees.
    zoom : float
        Share by which the image grows or shrinks.
    shift : float
        Share of the side, along each axis.
    brightness : float
        Share of the full range that is added.
    contrast, gamma : float
        Share of the contrast about the middle; logarithm of the exponent.
    boxes : float
        Probability of up to three black rectangles, more of them near the upper edge, where
        markers sit: the network must not recognise collections by blacked-out markers.
    reduce : float
        Probability of reducing the image to a random side of at least 64 pixels and enlarging it
        again, as an image stored so small would be: sharpness must tell nothing of a label.
    """

    flip: Share = 0.0
    rotation: AtLeastZero = 0.0
    zoom: Share = 0.0
    shift: Share = 0.0
    brightness: Share = 0.0
    contrast: Share = 0.0
    gamma: AtLeastZero = 0.0
    boxes: Annotated[float, Meta(ge=0, le=1)] = 0.0
    reduce: Annotated[float, Meta(ge=0, le=1)] = 0.0


class Distillation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The teachers of a fit, beside the labels; see `training.fitting.distillation`.

    Attributes
    ----------
    teachers : tuple of str
        ``.keras`` files, fitted on the same split: what a teacher has seen of validation, its
        student has seen too.
    weight : float
        Share of the teachers' answer in the targets; the rest is the labels.
    size : int
        Side in pixels of the images that the teachers answer, reduced from the student's. 0: the student's.
    """

    teachers: tuple[str, ...] = ()
    weight: Annotated[float, Meta(ge=0, le=1)] = 0.0
    size: Annotated[int, Meta(ge=0, le=4096, multiple_of=32)] = 0

    def __post_init__(self) -> None:
        if bool(self.teachers) != bool(self.weight):
            raise ValueError("expected teachers and a weight above 0 together, or neither")


class Optimizer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the loss is minimised.

    Attributes
    ----------
    name : str
    weight_decay : float
        Decoupled, on kernels only; AdamW alone.
    schedule : str
        ``constant``, or ``cosine``: linear warm-up, then down to zero at the stage's last step.
    warmup_epochs : float
    ema : float
        Momentum of the moving average of the weights that is validated and kept; 0: none.
    """

    name: Literal["adam", "adamw"] = "adamw"
    weight_decay: AtLeastZero = 0.0
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup_epochs: AtLeastZero = 1.0
    ema: Share = 0.0

    def __post_init__(self) -> None:
        if self.name == "adam" and self.weight_decay:
            raise ValueError("expected weight_decay of 0 with adam; adamw has it")


class Stopping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which epoch's weights are kept.

    Attributes
    ----------
    keep : str
        ``best``: of the epoch best on validation; ``last``: of the last, with nothing chosen.
    metric : str
        ``auc``: mean ROC-AUC over the findings; ``auc_within``: within collections, see
        `training.evaluation.metrics.auc_within`.
    patience : int
        Epochs without a better one after which a stage ends; 0: never.
    """

    keep: Literal["best", "last"] = "best"
    metric: Literal["auc", "auc_within"] = "auc"
    patience: Annotated[int, Meta(ge=0)] = 0


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a network is fitted.

    Attributes
    ----------
    labels : str
        The label set; see `training.labels.read_labels`.
    initial : str
        See `training.network.initial_weights.initial_network`.
    network : Network
    batch : int
    seed : int
        Of order, dropout, augmentation and new layers; the split has its own.
    stages : tuple of Stage
        One after the other; the last one's size is the network's.
    """

    initial: str
    stages: Annotated[tuple[Stage, ...], Meta(min_length=1)]
    labels: str = DEFAULT_LABELS
    batch: Count = 32
    seed: Annotated[int, Meta(ge=0)] = 0
    network: Network = Network()
    split: Split = Split()
    sampling: Sampling = Sampling()
    loss: Loss = Loss()
    augmentation: Augmentation = Augmentation()
    distillation: Distillation = Distillation()
    optimizer: Optimizer = Optimizer()
    stopping: Stopping = Stopping()


def read_recipe(path: Path) -> Recipe:
    """Read a recipe file.

    Raises
    ------
    RecipeError
        The message names the key.
    """
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Recipe)
    except msgspec.MsgspecError as error:
        raise RecipeError(f"{path}: {error}; compare it with {DEFAULT}") from error


def change_recipe(recipe: Recipe, changes: list[str]) -> Recipe:
    """Change single keys of a recipe.

    Parameters
    ----------
    recipe : Recipe
    changes : list of str
        Like ``loss.name=focal``, ``stages.0.epochs=3``; values as in TOML, strings also without quotes.

    Raises
    ------
    RecipeError
        No such key, or a value that does not fit.
    """
    tree = msgspec.json.decode(msgspec.json.encode(recipe))
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals:
            raise RecipeError(f"expected KEY=VALUE, got {change!r}")
        *path, last = key.split(".")
        branch = tree
        for step in path:
            branch = _branch(branch, step, change)
        _set(branch, last, _value(value), change)
    try:
        return msgspec.convert(tree, Recipe)
    except msgspec.ValidationError as error:
        raise RecipeError(f"{', '.join(changes)}: {error}") from error


def _branch(branch: object, step: str, change: str) -> object:
    if isinstance(branch, dict) and step in branch:
        return branch[step]
    if isinstance(branch, list) and step.isdigit() and int(step) < len(branch):
        return branch[int(step)]
    raise RecipeError(f"{change!r}: the recipe has no {step!r} there; {_keys(branch)}")


def _set(branch: object, key: str, value: object, change: str) -> None:
    if isinstance(branch, list) and key.isdigit() and int(key) < len(branch):
        branch[int(key)] = value
        return
    if not isinstance(branch, dict) or key not in branch:
        raise RecipeError(f"{change!r}: the recipe has no {key!r} there; {_keys(branch)}")
    branch[key] = value


def _keys(branch: object) -> str:
    if isinstance(branch, dict):
        return f"there are {', '.join(branch)}"
    return f"it is a list of {len(branch)}" if isinstance(branch, list) else "it is a single value"


def _value(text: str) -> object:
    try:
        return msgspec.toml.decode(f"value = {text}".encode())["value"]
    except msgspec.DecodeError:
        return text
