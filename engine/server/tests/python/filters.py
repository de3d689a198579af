"""Filters in few words."""

from google.protobuf import struct_pb2
from twn.v1 import filter_pb2


def match(field, value):
    wrapped = struct_pb2.Value()
    if isinstance(value, bool):
        wrapped.bool_value = value
    elif isinstance(value, str):
        wrapped.string_value = value
    else:
        wrapped.number_value = value
    return filter_pb2.Filter(match=filter_pb2.Match(field=field, value=wrapped))


def all_of(*filters):
    return filter_pb2.Filter(**{"and": filter_pb2.And(filters=filters)})


def any_of(*filters):
    return filter_pb2.Filter(**{"or": filter_pb2.Or(filters=filters)})


def negated(inner):
    return filter_pb2.Filter(**{"not": inner})


def within(field, **bounds):
    return filter_pb2.Filter(range=filter_pb2.Range(field=field, **bounds))


def one_of(field, *texts):
    values = [struct_pb2.Value(string_value=value) for value in texts]
    return filter_pb2.Filter(**{"in": filter_pb2.In(field=field, values=values)})


def exists(field):
    return filter_pb2.Filter(exists=filter_pb2.Exists(field=field))
