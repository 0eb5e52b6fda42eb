"""The `regcore` command."""

from regcore.waiting import sleep_while_waiting

sleep_while_waiting()  # the commands import torch
