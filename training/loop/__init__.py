"""The retraining loop: select, label, train, compare, promote or keep, as one command that goes on where it stopped."""
