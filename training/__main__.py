"""``python -m sikff.training`` is the ``sikff`` command."""

from sikff.training.cli import main

raise SystemExit(main())
