"""How often PostgreSQL and S3 are tried again when they fail, and the pauses between.

Of a list of pauses there is one try more than pauses.
"""

from __future__ import annotations

# PostgreSQL: a pause before each further try to connect.
CONNECTION_PAUSES_S = (0.5, 1.5)
# A pause before the snapshot's rows are read anew after a loss or a standby's refusal: nothing was changed.
READ_PAUSES_S = (0.5, 2.0, 5.0)

# S3: tries of a request, whose pauses are botocore's.
REQUEST_TRIES = 4
# A pause before each further try to read an object whose content broke off on its way.
CONTENT_PAUSES_S = (0.2, 1.0)
