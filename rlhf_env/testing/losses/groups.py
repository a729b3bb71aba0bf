"""Checks of advantages that compare the responses to one prompt."""

from __future__ import annotations

import torch
from torch import Tensor

from rlhf_env.testing.claims import CheckList, NotApplicable, expect
from rlhf_env.testing.losses.subject import TrainerLoss, far, plain, same

CHECKS = CheckList("group_advantages")
# What scores of 1, 2, 3 and 6 become; GRPO's epsilon of 1e-4 and less moves the fourth digit.
_FORMS = {
    "sample_std": [-0.925777, -0.462889, 0.0, 1.388666],
    "population_std": [-1.068988, -0.534494, 0.0, 1.603482],
    "centered": [-2.0, -1.0, 0.0, 3.0],
    "leave_one_out": [-2.666667, -1.333333, 0.0, 4.0],
}


def _advantages(groups: TrainerLoss, scores: list[float], group: list[int]) -> Tensor:
    return groups(scores=torch.tensor(scores), group=torch.tensor(group))


@CHECKS.add("arXiv:2402.03300; arXiv:2503.20783; arXiv:2402.14740")
def it_has_the_form_that_it_says(groups: TrainerLoss) -> str:
    """Scores of 1, 2, 3 and 6 give the advantages of GRPO, Dr. GRPO or RLOO."""
    found = _advantages(groups, [1.0, 2.0, 3.0, 6.0], [0, 0, 0, 0])
    names = [name for name, due in _FORMS.items() if far(found, due, atol=1e-3) is None]
    expect(names and groups.form in (None, *names), f"{plain(found)}, which is {names or 'none'}")
    return names[0]


@CHECKS.add("verl-agent#138; flow_grpo#46")
def groups_are_compared_apart(groups: TrainerLoss) -> None:
    """An easy prompt's responses are not compared with a hard one's."""
    found = _advantages(groups, [0.0, 1.0, 10.0, 11.0], [0, 0, 1, 1])
    expect(found[0] < 0 < found[1] and found[2] < 0 < found[3], f"{plain(found)} of 0, 1 | 10, 11")


@CHECKS.add("verl-agent#138")
def rows_of_a_group_may_stand_anywhere(groups: TrainerLoss) -> None:
    """Rows of two prompts that alternate have the advantages that they have side by side."""
    if groups.adjacent:
        raise NotApplicable("its groups must stand side by side")
    apart = _advantages(groups, [0.0, 1.0, 3.0, 10.0, 11.0, 15.0], [0, 0, 0, 1, 1, 1])
    mixed = _advantages(groups, [0.0, 10.0, 1.0, 11.0, 3.0, 15.0], [7, 2, 7, 2, 7, 2])
    same(mixed, apart[torch.tensor([0, 3, 1, 4, 2, 5])].double(), "alternating rows")


@CHECKS.add("huggingface/trl#6365; arXiv:2503.14476")
def equal_scores_teach_nothing(groups: TrainerLoss) -> None:
    """A group of equal scores has advantages of 0, also where their mean is rounded."""
    for score in (1.0, 0.1, -3.7):
        found = _advantages(groups, [score] * 6, [0] * 6)
        is_none = found.isfinite().all() and found.abs().max() < 1e-2
        expect(is_none, f"{plain(found)} of six scores of {score:g}")


@CHECKS.add("axolotl#3353; rllm#917")
def a_group_of_one_is_refused_or_silent(groups: TrainerLoss) -> str:
    """One response alone has nothing to be compared with: an error, or an advantage of 0."""
    try:
        found = _advantages(groups, [3.0], [0])
    except (ValueError, AssertionError) as refusal:
        return f"refused: {refusal}"
    expect((found == 0).all(), f"an advantage of {plain(found)} for a score of 3 alone")
    return "an advantage of 0"


@CHECKS.add("arXiv:2402.14740; arXiv:2402.03300")
def only_differences_count(groups: TrainerLoss) -> None:
    """A point more for every response to a prompt changes no advantage."""
    usual = _advantages(groups, [1.0, 2.0, 3.0, 6.0], [0, 0, 0, 0])
    higher = _advantages(groups, [101.0, 102.0, 103.0, 106.0], [0, 0, 0, 0])
    same(higher, usual.double(), "advantages of scores that are higher by 100", atol=1e-3)


@CHECKS.add("arXiv:2402.14740, eq. 8; huggingface/trl#3231")
def a_group_s_advantages_cancel(groups: TrainerLoss) -> None:
    """The advantages of each group add up to 0."""
    found = _advantages(groups, [1.0, 2.0, 3.0, 6.0, -4.0, 9.0, 0.5, 0.0], [0] * 4 + [1] * 4)
    same(found.reshape(2, 4).sum(1), [0.0, 0.0], "their sums", atol=1e-4)


@CHECKS.add("arXiv:2402.14740, section 3.1")
def its_own_score_is_not_in_its_baseline(groups: TrainerLoss) -> None:
    """With a leave-one-out baseline a point more for a response is a point more of advantage."""
    groups.only("leave_one_out")
    before = _advantages(groups, [1.0, 2.0, 3.0, 6.0], [0, 0, 0, 0])
    after = _advantages(groups, [1.0, 2.0, 3.0, 7.0], [0, 0, 0, 0])
    same(after[3] - before[3], 1.0, "the gain of the response that was paid one more")


@CHECKS.add("recursionpharma/gflownet#61; verl-project/verl#3780")
def scores_stay_as_they_are(groups: TrainerLoss) -> None:
    """The function does not write into the scores."""
    scores = torch.tensor([1.0, 2.0, 3.0, 6.0])
    groups(scores=scores, group=torch.tensor([0, 0, 0, 0]))
    expect(
        torch.equal(scores, torch.tensor([1.0, 2.0, 3.0, 6.0])), f"scores are {plain(scores)} now"
    )
