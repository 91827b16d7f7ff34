"""python -m byhand_replicate, the same as byhand-replicate."""

import sys

from byhand_replicate.replicate import main

# the workers' processes import this file, too
if __name__ == "__main__":
    sys.exit(main())
