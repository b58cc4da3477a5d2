require "redis"

sentinel_master = ENV['REDIS_SENTINEL_MASTER']
addresses = ENV['REDIS_SENTINEL_LIST'].split(',')
endpoints = Array.new(addresses.length)
addresses.each_with_index { |addr, index| a = addr.split(':'); endpoints[index] = {:host => a[0], :port => a[1]} }

redis = Redis.new(:url => "redis://#{sentinel_master}", :sentinels => endpoints, :role => :master)
