"""Oral cavity: the known data sets, as facts."""

from __future__ import annotations

from cytobench.datasets.info import DatasetInfo, Download

_MOSAICS = (
    ("1_oldsmear", "03", 326_211, "17c20ee047f8f8de730d2f81f01d13a75918d949ea005d74c2202e9175e5d3ff"),
    ("1_oldsmear", "04", 324_874, "d6c6dec263056113e9fafcd1886b24b2474e301df03906440953bb6da2fd1201"),
    ("1_oldsmear", "05", 320_223, "0b5b0363f905605ce4a1de50cdc03fa011a02d41c4b501ff5952575f81d6243e"),
    ("1_oldsmear", "06", 333_580, "90ddf93a736f3d74374220d6fb7596011fb1b9fd581519af756d5fc4e476f946"),
    ("1_oldsmear", "07", 326_256, "7d6d231fc71ae198e6839e06bb703156c03de7d17bf44bdcbd67e906c74ff4b4"),
    ("1_oldsmear", "08", 324_176, "c958c3e6ebf20754c9169e94d624b11695eca2f4bc8b84ae5ac587627ede447c"),
    ("1_oldsmear", "12", 314_023, "709109b1221a2cf56b3ddd0c2b35ae54eda4bd2c31f9090033015e271ba8559f"),
    ("1_oldsmear", "36", 315_483, "83cc6f8a24ee7a29941f3e8de2e93ee895277da49bea1948d2e7175bba746fb6"),
    ("1_oldsmear", "37", 337_222, "f41955e3f8116a7f54ee0af422b4ff1150c7307c59f6400e0d9d02dbe687f115"),
    ("1_oldsmear", "38", 326_847, "58a69c8b9796cc3bedd0f3dd67e33b121d7e7fcf81724ecbaa4cd804a58462b1"),
    ("2_newsmear", "03", 1_076_730, "37c5084c240de8c4621d0014c7aa0f38fb9c7f6506e0e35aa1590e8f91039a8c"),
    ("2_newsmear", "04", 1_078_518, "77a69c681263f6e7f2265cb33ca9c88318f27d59a8709a25ae1b5e63bc4e46bb"),
    ("2_newsmear", "05", 1_089_675, "a691ff9007b920efb7321ac2c2171a8e60930fa1355b6a10defde16cb60014c6"),
    ("2_newsmear", "06", 1_152_089, "8f2a014c4d2fe61458cca9d1ef8c5b0ea62932ff69f9d04176d55fb65cd8ea21"),
    ("2_newsmear", "07", 1_079_605, "5717518913f165a2119ce1e221266a1a34febe65f03f26c7ac8ce4903a650210"),
    ("2_newsmear", "08", 1_093_062, "7b9c12ebb7ee234b101e5abff9f96ba8840ba5db6dae0802ac2aec36e6cb6ff5"),
    ("2_newsmear", "12", 1_015_248, "9e89fcdd6b5d8d3f37e99af2c9e772cb16dd28481e0b5566e1190d6f1ed52a32"),
    ("2_newsmear", "36", 989_765, "c5c9516b7a27a82d74943316972b78ccd2ccdc07f1b98ad66f617434c52a3e2c"),
    ("2_newsmear", "37", 1_097_822, "5d7d9000b7b6f32f22a438fa471a6e9829089e65e7e42a0c02cfce60a07af2b6"),
    ("2_newsmear", "38", 1_098_410, "837b09599666601cbd2c147a87e1a2820b1d77c14257370642b15d524f39636d"),
)
"""Part, slide number, bytes and SHA-256 of the mosaics at the commit named below."""
_ADDRESS = (
    "https://raw.githubusercontent.com/MIDA-group/OralScreen/18476572a65a12b74443873b16aa559624c21c17/"
    "Classification"
)

DATASETS = (
    DatasetInfo(
        name="oral-cytology",
        title="Oral brush samples: patches of ten slides imaged twice (OralScreen)",
        reader="cytobench.datasets.oral_cytology:read",
        folders=("oral-cytology",),
        licence="MIT, with citation of code and papers",
        citation="Lu et al., ICIAR 2020, LNCS 12132 (arXiv:1910.10549)",
        url="https://github.com/MIDA-group/OralScreen",
        notes=(
            "The project publishes mosaics; `cytobench data prepare` cuts them on their 80 px grid into one "
            "PNG a patch. Labels are those of slides: cancer slides hold many healthy-looking cells."
        ),
        organ="oral cavity",
        preparation="Papanicolaou-stained brush sample, nucleus-centred patches of 80 px",
        counts={"Cancer": 1424, "Healthy": 2136},
        group="slide NUMBER, over both parts: most likely the same ten glasses imaged twice",
        known_confounds=(
            "Colour alone reaches a patch score of 0.84 and a slide AUC of 1.00 in the colour part (chance "
            "0.5), 0.55 and 0.71 in the grey one. Ten slides: slide AUC has no room left."
        ),
        layout=(
            "oral-cytology/",
            "  ds1_oldsmear/Cancer/slide12/r00c00.png …     (grey, 100 patches a slide)",
            "  ds1_oldsmear/Healthy/slide03/ …",
            "  ds2_newsmear/Cancer/slide12/ …               (colour, 256 patches a slide)",
            "  ds2_newsmear/Healthy/slide03/ …",
        ),
        files=tuple(
            Download(
                f"{_ADDRESS}/Dataset{part}/slide_mosaic{part}/mosaic_{slide}.jpg",
                f"slide_mosaic{part}/mosaic_{slide}.jpg",
                size=size,
                sha256=sha256,
            )
            for part, slide, size, sha256 in _MOSAICS
        ),
        access="open",
        prepare="cytobench.datasets.oral_mosaics:prepare",
    ),
)
