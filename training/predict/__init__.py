"""Run a checkpoint or an exported artifact on images and videos, without a service."""
