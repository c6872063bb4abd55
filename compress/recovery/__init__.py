"""Training after compression: a loop takes a model and batches of tensors, and knows nothing of speech or runs.

`losses`: what is minimised; `matching`: a teacher's hidden states; `batches`: what is trained on, and a teacher's word
on it; `loop`: the loop; `lora`: adapters through PEFT, over decoded weights or bitsandbytes' NF4; `scaling`: one factor
a matrix; `shipping`: from what was trained to what an artifact holds.
"""
