"""Colours that stay apart for whoever looks, on white and on dark; a mark for each."""
import itertools
import unittest

import numpy

from suite import palette

# Simulations of full protanopia and deuteranopia on linear RGB: Machado, Oliveira and Fernandes,
# "A Physiologically-based Model for Simulation of Color Vision Deficiency", 2009.
EYES = {"normal": numpy.eye(3),
        "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]}
TO_XYZ = numpy.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour):
    value = numpy.array([int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)])
    return numpy.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055)**2.4)


def lab(rgb):
    xyz = TO_XYZ @ numpy.clip(rgb, 0, 1) / [0.9505, 1, 1.089]
    x, y, z = numpy.where(xyz > 0.008856, numpy.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return numpy.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(one, other):
    low, high = sorted(float(TO_XYZ[1] @ linear(colour)) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


class Palette(unittest.TestCase):
    def test_twelve_columns_are_told_apart(self):
        for scheme in (0, 1):
            colours = [look[scheme] for look in palette.LOOKS]
            self.assertEqual(len(set(colours)), 12)
            for eye, matrix in EYES.items():
                seen = [lab(numpy.asarray(matrix) @ linear(colour)) for colour in colours]
                for a, b in itertools.combinations(range(12), 2):
                    self.assertGreater(numpy.linalg.norm(seen[a] - seen[b]), 20, (eye, colours[a], colours[b]))

    def test_each_stands_out_from_its_background(self):
        for light, dark, _ in palette.LOOKS:
            self.assertGreaterEqual(contrast(light, "#ffffff"), 3, light)
            self.assertGreaterEqual(contrast(dark, "#14171c"), 3, dark)

    def test_no_two_of_many_columns_look_alike(self):
        names = [{"name": f"own{i}"} for i in range(20)] + [{"name": "mymalloc"}, {"name": "glibc"}]
        looks = palette.looks(names)
        self.assertEqual(len(set(looks.values())), len(looks))
        self.assertEqual(looks["mymalloc"], palette.looks([{"name": "mymalloc"}])["mymalloc"])
        self.assertEqual(len({mark for _, _, mark in palette.LOOKS}), 12)


if __name__ == "__main__":
    unittest.main()
