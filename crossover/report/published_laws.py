"""Published constants of scaling laws, shown beside the fits of a study."""

from __future__ import annotations

from dataclasses import dataclass

from crossover.analysis.across.cross_cell_result import LawForm


@dataclass(frozen=True)
class PublishedLaw:
    """Constants that somebody published: a line to look at, not the truth for other data, tokenizers and sizes."""

    source: str
    family: str
    kind: LawForm
    constants: tuple[tuple[str, float], ...]
    caveat: str

    def sentence(self) -> str:
        """The constants with their source, in one sentence."""
        constants = ", ".join(f"{name} = {value:g}" for name, value in self.constants)
        return f"Published, for reference only: {self.family}, {self.kind}, {constants} ({self.source}). {self.caveat}"


PUBLISHED_LAWS = (
    PublishedLaw(
        "Muennighoff et al. 2023, arXiv 2305.16264",
        "AR",
        "monotone",
        (("E", 1.87), ("A", 521.0), ("α", 0.3526596), ("B", 1488.0), ("β", 0.3526596), ("R_D*", 2.9157)),
        "C4, subword tokens; α = β was imposed; the variant without effective parameters, as fitted here. "
        "With them R_D* = 15.387756 and R_N* = 5.309743, which do not compare.",
    ),
    PublishedLaw(
        "Prabhudesai et al. 2025, arXiv 2507.15857",
        "AR",
        "monotone",
        (("R_D*", 31.19), ("R_N*", 55.16)),
        "One seed a cell; R² of the fit was 0.76; with effective parameters N', which are not fitted here.",
    ),
    PublishedLaw(
        "Prabhudesai et al. 2025, arXiv 2507.15857",
        "DLM",
        "monotone",
        (("R_D*", 493.89), ("R_N*", 1265.65)),
        "One seed a cell; with effective parameters N', which are not fitted here.",
    ),
    PublishedLaw(
        "Ni et al. 2025 (Quokka), arXiv 2510.03280",
        "DLM",
        "bending",
        (("A", 1535.23), ("α", 0.42), ("B", 54.21), ("β", 0.13), ("κ", 1.49), ("γ", 0.40), ("a", 0.39), ("b", 0.55)),
        "One seed a cell, C4, no E; e_p = 254.35 U^0.39 / N^0.55 in tokens and parameters, not of means as here.",
    ),
)
