"""What Triton needs beside an artefact's versions."""
