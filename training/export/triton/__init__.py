"""What Triton needs beside an artifact's versions."""
