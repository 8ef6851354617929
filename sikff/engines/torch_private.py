"""The private interfaces of torch that replaying needs, all in one place."""

from __future__ import annotations

from collections.abc import Hashable

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

TO_COPY = torch.ops.aten._to_copy.default
EMBEDDING_BAG = torch.ops.aten._embedding_bag_forward_only.default


class DispatchMode(TorchDispatchMode):
    """Sees every operation of torch while it is active."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Asked by torch of its modes; True would import its compiler, which takes two seconds."""
        return False


def storage_key(tensor: Tensor) -> Hashable:
    """Identifies the storage of a tensor, also after it was freed: no other one has this key."""
    return StorageWeakRef(tensor.untyped_storage())
