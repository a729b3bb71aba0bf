from .solution import Evaluation as Evaluation
from .solution import Policy as Policy
from .solution import Prefix as Prefix
from .solution import Solution as Solution
from .solution import TokenProbabilities as TokenProbabilities
from .solution import evaluate as evaluate
from .solution import solve as solve
