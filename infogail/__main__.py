"""`python -m infogail`, which also allows `torchrun --nproc-per-node N -m infogail train …`."""

from infogail.cli import main

if __name__ == "__main__":
    main()
