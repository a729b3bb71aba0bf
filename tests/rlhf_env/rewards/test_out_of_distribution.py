"""Distances from what a reward model was trained on, and the reward that pays for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.stats import chi2
from sklearn.covariance import EmpiricalCovariance, LedoitWolf
from torch import Tensor
from transformers import LlamaModel

from rlhf_env.rewards import Ensemble, PrefixReward, ScalarRewardModel
from rlhf_env.rewards.conservative import ConservativeReward
from rlhf_env.rewards.hidden_states import hidden_states
from rlhf_env.rewards.out_of_distribution import Gaussian, OutOfDistribution
from rlhf_env.rewards.protocol import as_reward, score
from tests.rlhf_env.rewards.test_classifier import KINDS, reward_of
from tests.toys import EOS, FavoriteTokenReward, tiny_llama, tiny_tokenizer


def scalar_model(seed: int = 0, batch_size: int = 256) -> ScalarRewardModel:
    trunk = tiny_llama(seed=seed).model
    assert isinstance(trunk, LlamaModel)
    return ScalarRewardModel(trunk, batch_size=batch_size).requires_grad_(False).eval()


def texts(count: int, low: int, high: int, seed: int = 0) -> tuple[list[Tensor], list[Tensor]]:
    """Prompts of one token, and responses of two to six tokens from a range, then EOS."""
    generator = torch.Generator().manual_seed(seed)
    prompts = [torch.tensor([2 + row % 3]) for row in range(count)]
    responses = [
        torch.cat(
            [torch.randint(low, high, (2 + row % 5,), generator=generator), torch.tensor([EOS])]
        )
        for row in range(count)
    ]
    return prompts, responses


SEEN = texts(120, 5, 15)
FRESH = texts(60, 5, 15, seed=1)
FOREIGN = texts(60, 16, 32, seed=1)


def test_squared_distances_by_hand() -> None:
    """Variances 4 and 1: (2, 1) lies 2²/4 + 1²/1 = 2 away, squared."""
    precision = torch.diag(torch.tensor([0.25, 1.0])).double()
    gaussian = Gaussian(mean=torch.tensor([1.0, 0.0]).double(), precision=precision)
    states = torch.tensor([[3.0, 1.0], [1.0, 0.0], [1.0, -3.0]])
    assert gaussian.squared_distances(states).tolist() == [2.0, 0.0, 9.0]


def test_the_covariance_is_shrunk() -> None:
    """Ten states of twenty units: no inverse without shrinkage, and sklearn's with it."""
    states = np.random.default_rng(0).normal(size=(10, 20))
    gaussian = Gaussian.fit(torch.from_numpy(states))
    expected = LedoitWolf().fit(states).mahalanobis(states)
    found = gaussian.squared_distances(torch.from_numpy(states))
    assert found.tolist() == pytest.approx(expected.tolist())
    assert np.linalg.matrix_rank(EmpiricalCovariance().fit(states).covariance_) < 20


def test_known_data_lie_at_the_distances_of_chi_squared() -> None:
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(4, 4, generator=generator, dtype=torch.float64)
    fitted = Gaussian.fit(torch.randn(4000, 4, generator=generator, dtype=torch.float64) @ mixing)
    fresh = torch.randn(4000, 4, generator=generator, dtype=torch.float64) @ mixing
    distances = fitted.squared_distances(fresh)
    assert distances.mean().item() == pytest.approx(4.0, abs=0.2)
    assert distances.quantile(0.95).item() == pytest.approx(chi2.ppf(0.95, 4), abs=0.6)


def scored(relative: bool = False) -> OutOfDistribution:
    """Distances of hidden states that are given instead of read."""

    def states(prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        return torch.stack([row.float() for row in responses])

    def circle(variance: float) -> Gaussian:
        return Gaussian(mean=torch.zeros(2).double(), precision=torch.eye(2).double() / variance)

    return OutOfDistribution(
        states=states,
        trained=circle(1.0),
        background=circle(5.0) if relative else None,
        threshold=5.0,
        spread=2.0,
        probe=(torch.tensor([0]), torch.tensor([0, 0])),
    )


POINTS = [torch.tensor([1, 2]), torch.tensor([3, 1]), torch.tensor([0, 0])]


def test_distance_and_excess_by_hand() -> None:
    plain = scored()
    assert plain(POINTS, POINTS).tolist() == [5.0, 10.0, 0.0]
    assert plain.excess(POINTS, POINTS).tolist() == [0.0, 2.5, 0.0]


def test_a_background_is_taken_off() -> None:
    """5 − 5/5, 10 − 10/5."""
    relative = scored(relative=True)
    assert relative(POINTS, POINTS).tolist() == pytest.approx([4.0, 8.0, 0.0])
    assert relative.excess(POINTS, POINTS).tolist() == pytest.approx([0.0, 1.5, 0.0])


class Ones:
    def __call__(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        return torch.ones(len(responses))


def test_a_conservative_reward_pays_for_the_excess() -> None:
    conservative = ConservativeReward(Ones(), scored(), coef=0.2)
    assert score(conservative, POINTS, POINTS).tolist() == [1.0, 0.5, 1.0]
    assert score(ConservativeReward(Ones(), scored(), 0.0), POINTS, POINTS).tolist() == [1.0] * 3


def test_a_conservative_reward_of_texts_and_no_prefixes() -> None:
    def words(prompts: list[str], responses: list[str]) -> list[float]:
        return [float(len(text.split())) for text in responses]

    bound = as_reward(ConservativeReward(words, scored()), tiny_tokenizer())
    # Tokens 0 and 1 are no words.
    assert score(bound, POINTS, POINTS).tolist() == [1.0, -1.5, 0.0]
    assert as_reward(bound, tiny_tokenizer()) is bound
    assert not isinstance(ConservativeReward(FavoriteTokenReward(), scored()), PrefixReward)


def test_states_are_means_over_the_response() -> None:
    model = scalar_model()
    prompt, response = torch.tensor([2, 3]), torch.tensor([7, 8, EOS])
    whole = model.trunk(input_ids=torch.tensor([[2, 3, 7, 8, EOS]])).last_hidden_state[0]
    expected = (whole[2] + whole[3] + whole[4]) / 3
    torch.testing.assert_close(hidden_states(model, [prompt], [response])[0], expected)


@pytest.mark.parametrize("kind", ["scalar", *KINDS])
def test_states_depend_on_their_text_only(kind: str) -> None:
    """Neither padding nor the rest of the batch nor its order changes them."""
    if kind == "scalar":
        alone, together = scalar_model(batch_size=1), scalar_model(batch_size=7)
    else:
        alone = reward_of(KINDS[kind](), batch_size=1)
        together = reward_of(KINDS[kind](), batch_size=7)
    prompts, responses = FRESH
    expected = hidden_states(alone, prompts[:20], responses[:20])
    assert expected.shape == (20, 32)
    found = hidden_states(together, prompts[:20], responses[:20])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert (expected[0] - expected[1]).norm() > 0.1


@pytest.mark.parametrize(("kind", "share"), [("scalar", 0.9), ("llama", 0.75)])
def test_foreign_texts_lie_farther(kind: str, share: float) -> None:
    """A classifier's mean holds the prompts too, which are the same."""
    model = scalar_model() if kind == "scalar" else reward_of(KINDS[kind]())
    distance = OutOfDistribution.fit(model, *SEEN)
    near, far = distance(*FRESH), distance(*FOREIGN)
    is_farther = (far[:, None] > near).double().mean()
    assert is_farther > share
    usual, unusual = distance.excess(*FRESH).mean(), distance.excess(*FOREIGN).mean()
    assert unusual > 4 * usual
    assert usual < 0.2


def test_the_threshold_is_that_of_texts_kept_back() -> None:
    distance = OutOfDistribution.fit(scalar_model(), *SEEN, quantile=0.5)
    kept = distance([SEEN[0][row] for row in range(0, 120, 5)], SEEN[1][::5])
    assert distance.threshold == pytest.approx(float(np.median(kept.numpy())))
    assert distance.spread == pytest.approx(float(np.std(kept.numpy(), ddof=1)))
    others = [row for row in range(120) if row % 5]
    states = hidden_states(scalar_model(), *SEEN)[others].double().numpy()
    expected = LedoitWolf().fit(states).location_
    assert distance.trained.mean.tolist() == pytest.approx(expected.tolist())


def test_a_background_makes_common_oddities_cancel() -> None:
    everything = texts(200, 5, 32, seed=3)
    relative = OutOfDistribution.fit(scalar_model(), *SEEN, background=everything)
    is_farther = (relative(*FOREIGN)[:, None] > relative(*FRESH)).double().mean()
    assert is_farther > 0.95
    assert (relative(*FRESH) < OutOfDistribution.fit(scalar_model(), *SEEN)(*FRESH)).all()


@pytest.mark.parametrize("relative", [False, True])
def test_what_is_saved_is_loaded(tmp_path: Path, relative: bool) -> None:
    background = texts(40, 5, 32) if relative else None
    distance = OutOfDistribution.fit(scalar_model(), *SEEN, background=background)
    distance.save(tmp_path / "far.safetensors")
    loaded = OutOfDistribution.load(tmp_path / "far.safetensors", scalar_model())
    assert torch.equal(loaded.excess(*FOREIGN), distance.excess(*FOREIGN))
    assert (loaded.threshold, loaded.spread) == (distance.threshold, distance.spread)
    assert [path.name for path in tmp_path.iterdir()] == ["far.safetensors"]


def test_another_reward_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "far.safetensors"
    OutOfDistribution.fit(scalar_model(), *SEEN).save(path)
    with pytest.raises(ValueError, match=r"reward must be the model that .* or fit\(\) again"):
        OutOfDistribution.load(path, scalar_model(seed=1))


def test_files_that_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "far.safetensors"
    with pytest.raises(ValueError, match=r"a file that save\(\) wrote, got .*FileNotFoundError"):
        OutOfDistribution.load(path, scalar_model())
    OutOfDistribution.fit(scalar_model(), *SEEN).save(path)
    tensors = load_file(path)
    save_file(tensors, path)
    with pytest.raises(ValueError, match=r"a file that save\(\) wrote, got .*KeyError"):
        OutOfDistribution.load(path, scalar_model())
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ValueError, match=r"a file that save\(\) wrote, got .*SafetensorError"):
        OutOfDistribution.load(path, scalar_model())


def test_fits_that_are_refused() -> None:
    model = scalar_model()
    with pytest.raises(ValueError, match=r"at least 10, got 9 and 9"):
        OutOfDistribution.fit(model, SEEN[0][:9], SEEN[1][:9])
    with pytest.raises(ValueError, match=r"equally many, .* got 120 and 119"):
        OutOfDistribution.fit(model, SEEN[0], SEEN[1][:-1])
    with pytest.raises(ValueError, match=r"hidden states of the 12 texts must be finite and diff"):
        OutOfDistribution.fit(model, SEEN[0][:1] * 12, SEEN[1][:1] * 12)
    alike = [response if row % 5 else SEEN[1][0] for row, response in enumerate(SEEN[1])]
    with pytest.raises(ValueError, match=r"every fifth of the texts must differ, got 24 alike"):
        OutOfDistribution.fit(model, SEEN[0][:1] * 120, alike)
    with pytest.raises(ValueError, match=r"quantile must be a number in \[0, 1\], got 95"):
        OutOfDistribution.fit(model, *SEEN, quantile=95)
    with pytest.raises(TypeError, match=r"got Ensemble; give one of an ensemble's members"):
        OutOfDistribution.fit(Ensemble([model]), *SEEN)
    with pytest.raises(ValueError, match=r"coef must be a finite number >= 0, got -1"):
        ConservativeReward(model, scored(), coef=-1)
