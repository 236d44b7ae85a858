"""Words in and out: tokenizers, chat templates, prompts as arrays, and what is chosen of a model's logits. numpy only.

tokenizer.py  files of published tokenizers      chat.py   chat templates          prompt.py    rows of ids as arrays
choose.py     penalties and sampling             beams.py  beam search             generate.py  the loop around a model
"""
