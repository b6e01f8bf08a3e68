"""How accurate a subnet is: mean IoU by clicks and boxes beside trivial baselines."""
