"""Training: data readers, tokenizer, pretraining, fine-tuning, evaluation and calibration."""
