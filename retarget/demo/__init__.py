"""Demonstration motions, made from published figures alone: no motion capture, no downloads.

`python -m retarget.demo out=data/demo` writes two motion sets: `fullbody` (a measured human walk)
and `bimanual` (minimum-jerk arm movements).
"""
