"""What a model has of what can be had of a family."""

from __future__ import annotations

import numpy as np

from models.training.member_shares import FamilyFacts, join_facts


def test_facts_of_two_draws_share_no_member() -> None:
    """Members are numbered on from the draw before, and what is known of them stands in the same order."""
    one = FamilyFacts(np.array([1.0, 2.0]), np.array([0, 1]), np.array(["weak", "strong"]), np.array([1.0, 2.0]))
    joined = join_facts([one, one])
    assert joined.member.tolist() == [0, 1, 2, 3]
    assert joined.filter_bp.tolist() == [1.0, 2.0, 1.0, 2.0]
    assert joined.kind.tolist() == ["weak", "strong"] * 2
