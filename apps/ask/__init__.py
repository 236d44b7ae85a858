"""A page to ask a vision-language model about pictures: drop one, ask, read the answer as it comes."""
