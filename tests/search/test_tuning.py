"""Workers stay: an idle one is kept for the next job, however few jobs there are at the moment."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

from ray.tune.execution.tune_controller import TuneController
from ray.tune.utils.object_cache import _ObjectCache

from search.tuning import keeper


def test_every_idle_worker_is_kept() -> None:
    cache = _ObjectCache(may_keep_one=True)
    controller, trial = SimpleNamespace(_actor_cache=cache), SimpleNamespace(placement_group_factory="group")
    scheduler = keeper(3)
    for _ in range(5):
        scheduler.on_trial_add(controller, trial)
    assert all(cache.cache_object("group", worker) for worker in range(3))
    assert not cache.cache_object("group", 3)
    assert list(cache.flush_cached_objects()) == []
    assert len(list(cache.flush_cached_objects(force_all=True))) == 3


def test_tune_still_has_the_cache_that_is_raised() -> None:
    assert "self._actor_cache = _ObjectCache(" in inspect.getsource(TuneController.__init__)
