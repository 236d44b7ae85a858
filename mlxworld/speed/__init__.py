"""How fast a world runs, and why: the instruments behind `mlxworld bench` and `mlxworld doctor`.

parts.py     what is measured: the whole step, and dynamics, decoder and encoder alone
measure.py   time and memory of them              machine.py  what the machine can do: products, copies, launches
counts.py    operations, FLOPs and bytes          training.py the train step, its utilisation, the loader's share
predict.py   time from counts, and chips.py, measured.json: what it is predicted from
"""
