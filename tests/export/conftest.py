"""Networks are converted here: what TensorFlow keeps of them is given back."""

from tests.memory import memory_given_back as memory_given_back
