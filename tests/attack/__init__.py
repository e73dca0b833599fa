"""An attack on everything that is read: hundreds of damaged inputs, each judged by itself.

``python -m tests.attack`` prints what became of them; ``test_attack.py`` (slow) asserts it.
"""
