"""``python -m symgnn``, which is also what ``torchrun -m symgnn`` starts."""

import sys

from symgnn.cli import main

sys.exit(main())
