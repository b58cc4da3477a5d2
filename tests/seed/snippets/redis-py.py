import os
from redis.sentinel import Sentinel

sentinel_master = os.environ['REDIS_SENTINEL_MASTER']
sentinel_address_list = os.environ['REDIS_SENTINEL_LIST']
sentinel = Sentinel([tuple(address.split(':')) for address in sentinel_address_list.split(',')])
master = sentinel.master_for(sentinel_master)
