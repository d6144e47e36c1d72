"""``edge-agent`` on a board whose thermometer is FOLDER/sys/class/thermal/thermal_zone0/temp, in 1/1000 °C.

``python warm_daemon.py FOLDER run --config FILE``
"""

import sys
from functools import partial
from pathlib import Path

from edge_agent.adapters import board_sensors
from edge_agent.cli import main

if __name__ == "__main__":
    vars(board_sensors)["temperature_c"] = partial(board_sensors.temperature_c, Path(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
