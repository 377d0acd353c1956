"""Checking every claim: metrics, bags, replay, comparison of models, reports."""
