"""List the prompt banks, or show one with all its prompts.

python tools/list_prompt_banks.py
python tools/list_prompt_banks.py acdc
python tools/list_prompt_banks.py my_bank.yaml
"""

import argparse
import sys

from mmseg_domino.domain import list_prompt_banks, load_prompt_bank


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bank", nargs="?", help="a bank's name or file")
    args = parser.parse_args()
    if args.bank is None:
        for name, description in list_prompt_banks().items():
            bank = load_prompt_bank(name)
            prompts = sum(len(domain.prompts) for domain in bank.domains)
            print(f"{name:<12} {len(bank):>3} domains {prompts:>4} prompts  {description}")
        return 0
    try:
        bank = load_prompt_bank(args.bank)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{bank.name}: {bank.description}\nsha256 {bank.sha256}")
    for domain in bank.domains:
        print(f"\n{domain.key}")
        for prompt in domain.prompts:
            print(f"    {prompt}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
