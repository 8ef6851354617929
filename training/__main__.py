"""``python -m sikff.training`` is the ``sikff`` command."""

from .cli import main

raise SystemExit(main())
