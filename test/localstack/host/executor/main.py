"""Starts LocalStack on this host, without containers, and gives it what it lacks there.

Each module beside this one replaces one part of LocalStack and says why. They are run from here, so that nothing has to be
packaged or installed beside LocalStack.
"""

import old_python

old_python.apply()

import dynamodb
import function_process
import patches
from localstack.runtime.main import main

for part in (dynamodb, function_process, patches):
    part.apply()
main()
