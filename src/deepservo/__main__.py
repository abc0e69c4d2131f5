"""`python -m deepservo`."""

import sys

from deepservo.cli import main

sys.exit(main())
