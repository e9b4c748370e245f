"""The coordinator's half of the protocol: one type for each step, none of which can open one client's update.

:class:`~leptonic.secagg.server.inviting.Inviting` gathers keys, :class:`~leptonic.secagg.server.sharing.Sharing` boxes,
:class:`~leptonic.secagg.server.summing.Summing` adds masked inputs and keeps none,
:class:`~leptonic.secagg.server.agreeing.Agreeing` gathers a quorum for one set of survivors, and
:class:`~leptonic.secagg.server.unmasking.Unmasking` opens their sum.
"""
