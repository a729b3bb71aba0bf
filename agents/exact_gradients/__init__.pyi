from .measure import ExactGradients as ExactGradients
from .measure import exact_gradients as exact_gradients
